// Runs before anything is drawn, so that the page does not flash in the theme that was not chosen.

{
  const theme = localStorage.getItem("dmnode.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
