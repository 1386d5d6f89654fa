// Hands the samples of the microphone to the page, 20 ms at a time.

class Microphone extends AudioWorkletProcessor {
  #samples = [];

  process([[channel]]) {
    if (channel) this.#samples.push(...channel);
    if (this.#samples.length >= sampleRate / 50) {
      this.port.postMessage(Float32Array.from(this.#samples));
      this.#samples = [];
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
