// Draws models with bpmn-js, and pictures of ours beside them; returns the shapes and lines of both, by element id.
// Arguments: [[XML, SVG], …]. Boxes are [x, y, width, height], lines [x, y of both ends, length], in pixels.
return (async () => {
  const OUTLINE = ':is(path,polyline,circle,rect,polygon,ellipse):not(defs *)';
  const holder = document.body.appendChild(document.createElement('div'));

  const measureLine = (path) => {
    const length = path.getTotalLength();
    const [start, end] = [path.getPointAtLength(0), path.getPointAtLength(length)];
    return {line: [start.x, start.y, end.x, end.y, length]};
  };
  const measureShape = (outline, x, y) => {
    const box = outline.getBBox();
    return {form: outline.tagName, box: [x + box.x, y + box.y, box.width, box.height]};
  };

  const readBpmnJs = (viewer) => {
    const canvas = viewer.get('canvas');
    const inPlane = (one) => one === canvas.getRootElement() || (one.parent && inPlane(one.parent));
    const found = {};
    for (const element of viewer.get('elementRegistry').getAll()) {
      if (!element.parent || element.type === 'label' || !inPlane(element)) continue;
      const outline = canvas.getGraphics(element).querySelector('.djs-visual').querySelector(OUTLINE);
      found[element.businessObject.id] =
        element.waypoints ? measureLine(outline) : measureShape(outline, element.x, element.y);
    }
    return found;
  };
  const readOurs = (picture) => {
    const found = {};
    for (const group of picture.querySelectorAll('[data-element-id]')) {
      const at = /translate\(([-\d.]+) ([-\d.]+)\)/.exec(group.getAttribute('transform'));
      found[group.dataset.elementId] =
        at ? measureShape(group.querySelector(OUTLINE), +at[1], +at[2]) : measureLine(group.querySelector('.line'));
    }
    return found;
  };

  const all = [];
  for (const [xml, svg] of arguments[0]) {
    holder.innerHTML = '<div style="width: 900px; height: 700px"></div><div></div>';
    const viewer = new BpmnJS({container: holder.firstChild});
    const {warnings} = await viewer.importXML(xml).catch((error) => ({warnings: [error]}));
    holder.lastChild.innerHTML = svg;
    all.push(warnings.length ? null : [readBpmnJs(viewer), readOurs(holder.lastChild)]);
    viewer.destroy();
  }
  holder.remove();
  return all;
})()
