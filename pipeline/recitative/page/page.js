// A line moves over each spectrogram while its sound plays; a click on the picture goes there.
for (const picture of document.querySelectorAll(".spectrogram")) {
  const sound = picture.closest("article").querySelector("audio");
  if (!sound) continue;
  const head = picture.querySelector(".playhead");
  const seconds = Number(picture.dataset.seconds);
  const follow = () => {
    head.style.visibility = "visible";
    head.setAttribute("transform", `translate(${(sound.currentTime / seconds) * picture.width.baseVal.value} 0)`);
    if (!sound.paused) requestAnimationFrame(follow);
  };
  sound.addEventListener("play", follow);
  sound.addEventListener("seeked", follow);
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const wanted = ((event.clientX - box.left) / box.width) * seconds;
    const go = () => { sound.currentTime = wanted; sound.play(); };
    if (sound.readyState > 0) return go();
    sound.addEventListener("loadedmetadata", go, { once: true });
    sound.load();
  });
}
