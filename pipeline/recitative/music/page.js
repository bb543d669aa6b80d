// A line moves over each piano roll while its sound plays; a click on the picture goes there; one sound at a time.
const sounds = [...document.querySelectorAll("audio")];
for (const sound of sounds) {
  const picture = sound.closest("article").querySelector(".piano-roll");
  const head = picture.querySelector(".playhead");
  const systems = [...picture.querySelectorAll(".system")].map(({ dataset }) => ({
    from: Number(dataset.from), to: Number(dataset.to),
    x: Number(dataset.x), y: Number(dataset.y), width: Number(dataset.width),
  }));
  const follow = () => {
    const now = sound.currentTime;
    const at = systems.find((system) => system.from <= now && now < system.to);
    head.style.visibility = at ? "visible" : "hidden";
    if (at) {
      const x = at.x + ((now - at.from) / (at.to - at.from)) * at.width;
      head.setAttribute("transform", `translate(${x} ${at.y})`);
    }
    if (!sound.paused) requestAnimationFrame(follow);
  };
  sound.addEventListener("play", () => {
    for (const other of sounds) if (other !== sound) other.pause();
    follow();
  });
  sound.addEventListener("seeked", follow);
  picture.addEventListener("click", (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    const at = systems.findLast((system) => system.y <= point.y) ?? systems[0];
    const share = Math.min(1, Math.max(0, (point.x - at.x) / at.width));
    sound.currentTime = at.from + share * (at.to - at.from);
    sound.play();
  });
}
