for (const viewer of document.querySelectorAll(".viewer")) {
  const columns = Number(viewer.dataset.columns), rows = Number(viewer.dataset.rows), count = Number(viewer.dataset.slices);
  const slider = viewer.querySelector("input[type=range]"), readout = viewer.querySelector(".readout");
  const readouts = JSON.parse(viewer.querySelector(".readouts").textContent);
  const layers = viewer.querySelectorAll(".layer");
  const percent = (place, places) => places > 1 ? 100 * place / (places - 1) : 0;
  const show = () => {
    const index = Number(slider.value) - 1;
    const position = `${percent(index % columns, columns)}% ${percent(Math.floor(index / columns), rows)}%`;
    for (const layer of layers) layer.style.backgroundPosition = position;
    readout.textContent = `Slice ${index + 1} of ${count} · ${readouts[index]}`;
  };
  slider.addEventListener("input", show);
  const stage = viewer.querySelector(".stage");
  stage.addEventListener("click", () => slider.focus());
  stage.addEventListener("wheel", (event) => {
    if (document.activeElement !== slider) return;
    event.preventDefault();
    slider.value = Number(slider.value) + Math.sign(event.deltaY);
    show();
  }, { passive: false });
  for (const box of viewer.querySelectorAll("input[type=checkbox]")) {
    box.addEventListener("change", () => { layers[Number(box.dataset.layer)].style.display = box.checked ? "" : "none"; });
  }
  show();
}
