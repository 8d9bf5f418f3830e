// Sets the chosen theme before the first paint, so that the page does not flash in the other theme. Says so if the page
// fails to load.

{
  const theme = localStorage.getItem("dmnode.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}

{
  const SLOW_MS = 20_000;
  const say = (/** @type {string} */ text) => {
    // The page removes this element when it starts.
    const line = document.querySelector("main.waiting > p");
    if (line !== null) line.textContent = text;
  };
  // A module that fails to load causes an event at its script element. The event does not bubble, so capture it.
  addEventListener(
    "error",
    () => say("A part of this page failed to load. Reload the page."),
    true,
  );
  setTimeout(() => say("This page loads very slowly. Is the node running?"), SLOW_MS);
}
