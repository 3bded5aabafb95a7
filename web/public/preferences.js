// Runs before the first paint, so that the page never flashes in the wrong theme or language.
// It is a file, not an inline script, because the content security policy allows no inline code.
(() => {
  const root = document.documentElement;
  let stored = {};
  try {
    stored = JSON.parse(localStorage.getItem("davinci.preferences") ?? "{}") ?? {};
  } catch {
    // Storage may be blocked or hold something else; the system's preferences are a fine answer.
  }
  const systemTheme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const systemLanguage = navigator.language.toLowerCase().startsWith("ko") ? "ko" : "en";
  root.dataset.theme = ["light", "dark"].includes(stored.theme) ? stored.theme : systemTheme;
  root.lang = ["en", "ko"].includes(stored.language) ? stored.language : systemLanguage;
})();
