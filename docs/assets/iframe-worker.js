/* Search in pages that are opened as files, where browsers start no workers: what the worker would do is done
   in a hidden frame, which has a worker's names. Pages that a server gives are left alone. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      this.waiting = [];
      window.addEventListener("message", (event) => {
        if (event.source === frame.contentWindow)
          this.dispatchEvent(new MessageEvent("message", { data: event.data }));
      });
      frame.addEventListener("load", () => {
        this.frame = frame.contentWindow;
        this.waiting.splice(0).forEach((data) => this.frame.receive(data, "*"));
      }, { once: true });
      const script = (source) => `<script src="${source}"><\/script>`;
      const load = `
        window.receive = window.postMessage.bind(window);
        window.postMessage = (data) => parent.postMessage(data, "*");
        window.importScripts = (...sources) => sources.reduce((before, source) => before.then(() =>
          new Promise((done) => {
            const added = document.createElement("script");
            added.src = new URL(source, ${JSON.stringify(String(url))});
            added.onload = done;
            document.head.append(added);
          })), Promise.resolve());`;
      frame.srcdoc = `<script>${load}<\/script>${script(url)}`;
      document.documentElement.append(frame);
    }
    postMessage(data) {
      if (this.frame) this.frame.receive(data, "*");
      else this.waiting.push(data);
    }
    terminate() {}
  };
}
