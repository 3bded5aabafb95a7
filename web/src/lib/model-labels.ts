/**
 * The shortest unambiguous name of each model: without its provider (`gpt-4o-mini` for
 * `openai/gpt-4o-mini`), unless two providers in the list serve the same name.
 */
export function modelLabels(ids: Iterable<string>): Map<string, string> {
  const unique = [...new Set(ids)];
  const short = (id: string) => id.slice(id.indexOf("/") + 1);
  const uses = new Map<string, number>();
  for (const id of unique) uses.set(short(id), (uses.get(short(id)) ?? 0) + 1);
  return new Map(unique.map((id) => [id, uses.get(short(id)) === 1 ? short(id) : id]));
}
