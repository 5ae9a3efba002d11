// Runs before anything is drawn, so that no page flashes in the wrong theme.
{
  const asked = localStorage.getItem("slm-gateway-theme");
  if (asked === "light" || asked === "dark") document.documentElement.dataset.theme = asked;
}
