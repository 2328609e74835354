// Filters the changed answers, opens what a link leads to; the page reads the same without it.
document.documentElement.classList.add("js");
for (const section of document.querySelectorAll("[data-flips]")) {
  const [text, way] = section.querySelectorAll(".filter input, .filter select");
  const narrow = () => {
    const words = text.value.trim().toLowerCase();
    for (const group of section.querySelectorAll("details[data-suite]")) {
      let shown = 0;
      for (const card of group.querySelectorAll(".card")) {
        const fits = (!words || (group.dataset.suite + " " + card.textContent).toLowerCase().includes(words))
          && (!way.value || card.dataset.way === way.value);
        card.hidden = !fits;
        shown += fits;
      }
      group.hidden = !shown;
      if (shown && words) group.open = true;
      group.querySelector(".count").textContent = shown + (shown === 1 ? " answer" : " answers");
    }
  };
  text.addEventListener("input", narrow);
  way.addEventListener("change", narrow);
}
// A link into a folded group opens it; browsers that do not do so by themselves stay at the top.
const unfold = () => {
  const target = document.getElementById(location.hash.slice(1));
  const group = target && target.closest("details[data-suite]");
  if (group && !group.open) {
    group.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", unfold);
unfold();
