// The theme searches in a worker, which browsers refuse to pages that are opened from a folder (file:). There an iframe
// does a worker's work. The theme would load such a stand-in from a server of others.
if (location.protocol === "file:")
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      this.frame = frame
      this.inner = frame.contentWindow
      const whole = new URL(url, location.href)
      const load = (place) =>
        new Promise((done, failed) => {
          const script = frame.contentDocument.createElement("script")
          script.src = new URL(place, whole)
          script.onload = done
          script.onerror = failed
          frame.contentDocument.head.appendChild(script)
        })
      this.inner.importScripts = (...places) =>
        places.reduce((before, place) => before.then(() => load(place)), Promise.resolve())
      this.inner.postMessage = (data) => {
        const event = new MessageEvent("message", { data })
        this.dispatchEvent(event)
        if (this.onmessage) this.onmessage(event)
      }
      this.ready = load(whole)
    }
    postMessage(data) {
      this.ready.then(() => this.inner.dispatchEvent(new this.inner.MessageEvent("message", { data })))
    }
    terminate() {
      this.frame.remove()
    }
  }
