// Where the page begins: the frame is put into the document.
import { mount } from "svelte";

import App from "./App.svelte";
import "./styles/base.css";

// A chunk that is not there any more: the server was updated under the page. Once, since a chunk that
// is missing from the new page, too, is not mended by a third look.
const RELOADED = "banger-reloaded";
window.addEventListener("vite:preloadError", (event) => {
  const last = Number(sessionStorage.getItem(RELOADED) ?? 0);
  if (Date.now() - last < 60_000) return;
  sessionStorage.setItem(RELOADED, String(Date.now()));
  event.preventDefault();
  location.reload();
});

mount(App, { target: document.getElementById("app")! });
