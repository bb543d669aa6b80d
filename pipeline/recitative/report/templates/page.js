// A line moves over a figure while the sound of its article plays; a click on it plays from there. One sound at a time.
const sounds = [...document.querySelectorAll("audio")];
for (const sound of sounds) {
  const picture = sound.closest(".recording") ? null : sound.closest("article").querySelector(".playable");
  sound.addEventListener("play", () => { for (const other of sounds) if (other !== sound) other.pause(); });
  if (!picture) continue;
  const head = picture.querySelector(".playhead");
  const [width, height] = JSON.parse(picture.dataset.size);
  const systems = JSON.parse(picture.dataset.systems).map(
    ([from, to, x, y, w, h]) => ({ from, to, left: x / width, top: y / height, width: w / width, height: h / height }));
  const follow = () => {
    const now = sound.currentTime;
    const at = systems.find((system) => system.from <= now && now < system.to);
    head.style.visibility = at ? "visible" : "hidden";
    if (at) {
      head.style.left = `${100 * (at.left + ((now - at.from) / (at.to - at.from)) * at.width)}%`;
      head.style.top = `${100 * at.top}%`;
      head.style.height = `${100 * at.height}%`;
    }
    if (!sound.paused) requestAnimationFrame(follow);
  };
  sound.addEventListener("play", follow);
  sound.addEventListener("seeked", follow);
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
    const at = systems.findLast((system) => system.top <= y) ?? systems[0];
    const share = Math.min(1, Math.max(0, (x - at.left) / at.width));
    const go = () => { sound.currentTime = at.from + share * (at.to - at.from); sound.play(); };
    if (sound.readyState > 0) return go();
    sound.addEventListener("loadedmetadata", go, { once: true });
    sound.load();
  });
}
