// News of the ledger, as they come.

import { byId } from "./elements.js";
import { address } from "./server.js";

const WORDS = { open: "Live", connecting: "Connecting", lost: "Connection lost, trying again" };

/** Calls `news` with the latest requests whenever there are new ones. */
export function listen(news) {
  const told = byId("live");
  const tell = (state) => {
    told.dataset.state = state;
    told.querySelector(".text").textContent = WORDS[state];
  };
  let source = null;
  const open = () => {
    source = new EventSource(address("events"));
    source.addEventListener("open", () => tell("open"));
    source.addEventListener("requests", (event) => news(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      tell("lost");
      // A browser gives up where the answer wasn't a stream, as while the gateway starts.
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 3000);
    });
  };
  open();
}
