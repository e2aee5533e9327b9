// What HTML and CSS can't: the theme of Airflow's UI, a word about images that do not load, and ways out of its frame.
(() => {
  const page = document.documentElement;

  // Airflow's UI keeps the theme that was chosen there; "system" or nothing leaves it to the browser.
  const follow = () => {
    let theme = null;
    try {
      theme = localStorage.getItem("theme");
    } catch { /* storage is blocked */ }
    if (theme === "light" || theme === "dark") page.dataset.theme = theme;
    else delete page.dataset.theme;
  };
  follow();
  addEventListener("storage", follow);

  addEventListener("error", (event) => {
    const figure = event.target instanceof HTMLImageElement && event.target.closest("figure");
    if (!figure) return;
    figure.classList.add("broken");
    figure.querySelector(".missing").hidden = false;
  }, true);

  // Airflow shows the page in a sandboxed frame from which no link leads out: the page around follows it instead.
  if (window.parent !== window) addEventListener("click", (event) => {
    const link = event.target.closest("a[data-outside]");
    if (!link) return;
    const around = window.parent.document;
    const twin = around.createElement("a");
    twin.href = link.href;
    twin.target = event.ctrlKey || event.metaKey ? "_blank" : link.target;
    twin.rel = "noopener noreferrer";
    around.body.append(twin);
    twin.click();
    twin.remove();
    event.preventDefault();
  });
})();
