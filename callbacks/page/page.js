// Draws the charts of the page. A figure whose chart fails, and a printed page, show the drawing that is there in any case.
const options = {
  mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, ast: false,
  tooltip: { disableDefaultStyle: true },
};
for (const figure of document.querySelectorAll("figure.hover")) {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  vegaEmbed(figure.querySelector(".chart"), spec, options).then(
    () => figure.classList.add("ready"), console.error);
}
