// The colours that were chosen last, before anything is painted. No module, so that it does not wait.
try {
  const theme = localStorage.getItem('theme');
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Storage is switched off: the system's colours.
}
