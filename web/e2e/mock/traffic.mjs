// Made-up traffic for working on the dashboard without a control plane: a small simulation whose
// figures hang together (shares sum to one, totals equal their parts, the leader is the best).

const LEVELS = ["L1", "L2", "L3", "L4"];
const NAMES = { L1: "Brainstem", L2: "Limbic", L3: "Neocortex", L4: "NeuroNet" };
const VALUE_USD = { L1: 0.002, L2: 0.004, L3: 0.02, L4: 0.03 };
const TASKS = {
  L1: ["trivia_qa", "natural_qa"],
  L2: ["commonsense_qa"],
  L3: ["gsm8k", "math", "mmlu"],
  L4: ["mbpp", "human_eval"],
};
const MODELS = [
  // id, USD per million tokens, seconds per request, quality per level
  ["replay/codegemma-7b", 0.2, 0.7, [0.31, 0.42, 0.38, 0.61]],
  ["replay/gemma-2-9b-it", 0.1, 0.6, [0.58, 0.71, 0.55, 0.55]],
  ["replay/llama-3.1-8b-instruct", 0.2, 0.5, [0.62, 0.66, 0.56, 0.58]],
  ["replay/llama-3.1-nemotron-51b-instruct", 0.9, 1.6, [0.72, 0.75, 0.71, 0.69]],
  ["replay/llama-3.3-nemotron-super-49b-v1", 0.9, 1.8, [0.7, 0.74, 0.78, 0.71]],
  ["replay/llama3-chatqa-1.5-70b", 0.9, 2.1, [0.74, 0.72, 0.52, 0.49]],
  ["replay/llama3-chatqa-1.5-8b", 0.2, 0.5, [0.6, 0.58, 0.33, 0.31]],
  ["replay/mistral-7b-instruct-v0.3", 0.2, 0.5, [0.57, 0.61, 0.36, 0.38]],
  ["replay/qwen2.5-7b-instruct", 0.2, 0.5, [0.55, 0.78, 0.67, 0.66]],
].map(([id, price, latencyS, quality]) => ({ id, price, latencyS, quality }));

const EPSILON = 0.1;
const KEPT = 20_000;

/** A small seeded generator (mulberry32), so that every start shows the same picture. */
function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const round = (value, digits = 6) => Number(value.toFixed(digits));
const pick = (random, list) => list[Math.floor(random() * list.length)];

const PROMPT = "A train leaves at 9:40 and arrives at 12:15. How long is the journey?";
const ANSWER = "From 9:40 to 12:15 are 2 hours and 35 minutes.";

function judgement(level, costUsd, latencyMs, score, at) {
  const waited = (latencyMs / 1000) * VALUE_USD[level] * 0.02;
  const reward = score * VALUE_USD[level] - costUsd - waited;
  const createdAt = new Date(at + 800).toISOString();
  return { source: "replay", score, label: null, reward_usd: reward, created_at: createdAt };
}

/** The candidate whose stretch of the unit interval holds the draw. */
function drawFrom(candidates, draw) {
  let end = 0;
  for (const candidate of candidates) {
    end += candidate.probability;
    if (draw < end) return candidate;
  }
  return candidates[0];
}

export function createTraffic(now = Date.now(), perSecond = 0.5) {
  const random = seeded(7);
  const decisions = [];
  let serial = 0;

  const candidatesFor = (level, tokens) => {
    const at = LEVELS.indexOf(level);
    const scored = MODELS.map((model) => {
      const quality = model.quality[at] + (random() - 0.5) * 0.04;
      const costUsd = (tokens * model.price) / 1e6;
      const utility =
        quality * VALUE_USD[level] - costUsd - model.latencyS * VALUE_USD[level] * 0.02;
      const isTooSlow = level === "L1" && model.latencyS > 2;
      return { model, quality, costUsd, utility, eligible: !isTooSlow };
    });
    const eligible = scored.filter((c) => c.eligible);
    const best = eligible.reduce((a, b) => (b.utility > a.utility ? b : a));
    return scored.map((c) => ({
      model: c.model.id,
      quality: c.eligible ? round(c.quality, 4) : null,
      quality_sd: c.eligible ? 0.03 : null,
      cost_usd: c.eligible ? round(c.costUsd, 8) : null,
      latency_ms: c.eligible ? Math.round(c.model.latencyS * 1000) : null,
      utility_usd: c.eligible ? round(c.utility, 8) : null,
      probability: c.eligible ? EPSILON / eligible.length + (c === best ? 1 - EPSILON : 0) : 0,
      eligible: c.eligible,
      flags: [],
      why_not: c.eligible ? null : "predicted latency is above the level's limit of 2,000 ms",
    }));
  };

  const decide = (at) => {
    const level = pick(random, ["L1", "L1", "L1", "L2", "L3", "L3", "L3", "L3", "L4", "L4"]);
    const tokens = 120 + Math.floor(random() * 900);
    const candidates = candidatesFor(level, tokens);
    const chosen = drawFrom(candidates, random());
    const ranked = candidates
      .filter((c) => c.eligible)
      .sort((a, b) => b.utility_usd - a.utility_usd);
    const model = MODELS.find((m) => m.id === chosen.model);
    const failed = random() < 0.006;
    const isJudged = !failed && random() < 0.9;
    const right = random() < model.quality[LEVELS.indexOf(level)] ? 1 : 0;
    const latencyMs = model.latencyS * 1000 * (0.6 + random() + (random() < 0.04 ? 2.5 : 0));
    serial += 1;
    const id = serial.toString(16).padStart(12, "0");
    decisions.push({
      decision_id: `dec_0192f3a4-7c1e-7b3d-9a51-${id}`,
      created_at: new Date(at).toISOString(),
      level,
      level_confidence: 1,
      level_source: "task",
      task_type: pick(random, TASKS[level]),
      model: chosen.model,
      propensity: round(chosen.probability, 6),
      strategy: "epsilon_greedy",
      explored: chosen !== ranked[0],
      requested_model: "auto",
      regret_usd: Math.max(0, round(ranked[0].utility_usd - chosen.utility_usd, 8)),
      track: "stable",
      learner_version: serial,
      tokens_in: Math.floor(tokens * 0.6),
      caller: "key_demo",
      seed: serial,
      features: [],
      text: { messages: [{ role: "user", content: PROMPT }] },
      answer: failed ? null : { choices: [{ message: { role: "assistant", content: ANSWER } }] },
      fallbacks: ranked
        .filter((c) => c !== chosen)
        .slice(0, 2)
        .map((c) => c.model),
      candidates,
      policy: { name: "replay", version: 3 },
      why:
        chosen === ranked[0]
          ? `highest utility for ${level}: quality ${chosen.quality.toFixed(2)} at ${model.price} USD per million tokens`
          : "explored: epsilon 0.1 of this level is spent on learning",
      margin: {
        runner_up: ranked[1].model,
        gap_usd: round(ranked[0].utility_usd - ranked[1].utility_usd, 8),
        change: "quality",
        amount: round((ranked[0].utility_usd - ranked[1].utility_usd) / VALUE_USD[level], 4),
      },
      outcome: {
        status: failed ? "error" : "success",
        latency_ms: round(latencyMs, 1),
        tokens_in: Math.floor(tokens * 0.6),
        tokens_out: failed ? 0 : Math.ceil(tokens * 0.4),
        cost_usd: failed ? 0 : chosen.cost_usd,
        model: chosen.model,
        error_class: failed ? "upstream_timeout" : null,
        attempts: [],
        created_at: new Date(at + latencyMs).toISOString(),
      },
      feedback: isJudged ? [judgement(level, chosen.cost_usd, latencyMs, right, at)] : [],
    });
  };

  // Six quiet hours of history with a pause of half an hour, then live.
  for (let at = now - 6 * 3_600_000; at < now; at += 500 + 3_500 * random()) {
    const minutesAgo = (now - at) / 60_000;
    if (minutesAgo < 200 && minutesAgo > 170) continue;
    decide(at);
  }
  let last = now;

  return {
    advance(to = Date.now()) {
      for (; last + 1000 / perSecond <= to; last += 1000 / perSecond) decide(last);
      if (decisions.length > KEPT) decisions.splice(0, decisions.length - KEPT);
      return decisions;
    },
    startedAt: now,
  };
}

export { LEVELS, MODELS, NAMES, VALUE_USD };
