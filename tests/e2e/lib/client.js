// A v3 client as demodesk/neko-client behaves on the wire, to be run in a viewer's page: window.Client.

window.Client = class Client {
  events = [];
  sessions = {};
  host = null;
  screen = null;
  clipboard = null;
  states = [];

  async login(username, password) {
    const response = await fetch('/api/login', {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ username, password }),
    });
    const data = await response.json();
    if (!response.ok) throw new Error(data.message);
    this.id = data.id;
    this.token = data.token;
    return data;
  }

  async api(method, path, body) {
    const response = await fetch(path, {
      method, headers: { authorization: `Bearer ${this.token}`, ...(body ? { 'content-type': 'application/json' } : {}) },
      body: body ? JSON.stringify(body) : undefined,
    });
    const text = await response.text();
    return { status: response.status, body: text ? JSON.parse(text) : null };
  }

  connect(query = '') {
    this.early = [];
    this.socket = new WebSocket(`ws://${location.host}/api/ws?token=${encodeURIComponent(this.token)}${query}`);
    this.socket.onmessage = ({ data }) => this.handle(JSON.parse(data));
    this.socket.onclose = ({ code, reason }) => this.events.push({ event: 'closed', payload: { code, reason } });
    return new Promise((resolve, reject) => { this.socket.onopen = resolve; this.socket.onerror = () => reject(new Error('no WebSocket')); });
  }

  send(event, payload) { this.socket.send(JSON.stringify({ event, payload })); }

  watch(video = {}, audio = {}) { this.send('signal/request', { video, audio }); }

  async handle({ event, payload }) {
    this.events.push({ event, payload });
    if (event === 'system/init') {
      this.host = payload.control_host.host_id ?? null;
      this.screen = payload.screen_size;
      this.sessions = payload.sessions;
    } else if (event === 'control/host') {
      this.host = payload.has_host ? payload.host_id : null;
    } else if (event === 'screen/updated') {
      this.screen = payload;
    } else if (event === 'clipboard/updated') {
      this.clipboard = payload.text;
    } else if (event === 'signal/provide') {
      await this.provide(payload);
    } else if (event === 'signal/offer' || event === 'signal/restart') {
      await this.answer(payload.sdp);
    } else if (event === 'signal/candidate') {
      if (this.peer?.remoteDescription) await this.peer.addIceCandidate(payload); else this.early.push(payload);
    }
  }

  async provide({ sdp, iceservers }) {
    this.peer?.close();
    const peer = this.peer = new RTCPeerConnection({ iceServers: iceservers });
    peer.onconnectionstatechange = () => this.states.push(peer.connectionState);
    peer.onicecandidate = ({ candidate }) => { if (candidate) this.send('signal/candidate', candidate.toJSON()); };
    peer.ondatachannel = ({ channel }) => {
      this.channel = channel;
      channel.binaryType = 'arraybuffer';
      channel.onmessage = ({ data }) => this.binary(new DataView(data));
    };
    peer.ontrack = ({ track, streams }) => {
      const stream = streams[0] ?? new MediaStream([track]);
      if (track.kind === 'video') {
        this.video?.remove();
        this.video = document.createElement('video');
        Object.assign(this.video, { muted: true, autoplay: true, playsInline: true, srcObject: new MediaStream([track]) });
        document.body.append(this.video);
        this.video.play().catch(() => {});
      } else {
        this.sound = stream;
        this.hear(track);
      }
    };
    await this.answer(sdp);
    for (const candidate of this.early.splice(0)) await peer.addIceCandidate(candidate);
  }

  async answer(sdp) {
    await this.peer.setRemoteDescription({ type: 'offer', sdp });
    const answer = await this.peer.createAnswer();
    // Chrome plays stereo only when asked to.
    answer.sdp = answer.sdp.replace(/(useinbandfec=1)/, '$1;stereo=1');
    await this.peer.setLocalDescription(answer);
    this.send('signal/answer', { sdp: answer.sdp });
  }

  binary(view) {
    const opcode = view.getUint8(0);
    if (opcode === 1) this.cursor = { x: view.getUint16(3), y: view.getUint16(5) };
    if (opcode === 2) this.cursorImage = { width: view.getUint16(3), height: view.getUint16(5) };
    if (opcode === 3) this.pong = true;
  }

  /** Sends one message on the data channel: opcode and a body of [size, value] pairs. */
  input(opcode, ...body) {
    const length = body.reduce((sum, [size]) => sum + Math.abs(size), 0);
    const view = new DataView(new ArrayBuffer(3 + length));
    view.setUint8(0, opcode);
    view.setUint16(1, length);
    let at = 3;
    for (const [size, value] of body) {
      ({ 1: () => view.setUint8(at, value), 2: () => view.setUint16(at, value), '-2': () => view.setInt16(at, value), 4: () => view.setUint32(at, value) })[size]();
      at += Math.abs(size);
    }
    this.channel.send(view);
  }

  move(x, y) { this.input(1, [2, x], [2, y]); }
  scroll(x, y, control = false) { this.input(2, [-2, x], [-2, y], [1, control ? 1 : 0]); }
  key(keysym, down) { this.input(down ? 3 : 4, [4, keysym]); }
  press(...keysyms) { for (const one of keysyms) this.key(one, true); for (const one of keysyms.toReversed()) this.key(one, false); }
  button(code, down) { this.input(down ? 5 : 6, [4, code]); }
  click(code = 1) { this.button(code, true); this.button(code, false); }

  get isReady() { return this.channel?.readyState === 'open' && this.video?.videoWidth > 0; }

  /** Mean colours of squares around points of the picture that is shown. */
  colors(points, radius = 6) {
    const canvas = document.createElement('canvas');
    canvas.width = this.video.videoWidth;
    canvas.height = this.video.videoHeight;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(this.video, 0, 0);
    return points.map(([x, y]) => {
      const { data } = context.getImageData(x - radius, y - radius, 2 * radius, 2 * radius);
      const sum = [0, 0, 0];
      for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c++) sum[c] += data[i + c];
      return sum.map((value) => Math.round(value / (data.length / 4)));
    });
  }

  hear(track) {
    this.context = new AudioContext();
    this.analyser = this.context.createAnalyser();
    this.analyser.fftSize = 32768;
    // Chrome decodes a remote track only while an element plays it.
    this.player = new Audio();
    Object.assign(this.player, { srcObject: new MediaStream([track]), muted: true });
    this.player.play().catch(() => {});
    this.context.createMediaStreamSource(new MediaStream([track])).connect(this.analyser);
  }

  /** Loudest frequency in Hz and its level in dB. */
  tone() {
    const bins = new Float32Array(this.analyser.frequencyBinCount);
    this.analyser.getFloatFrequencyData(bins);
    let best = 1;
    for (let i = 1; i < bins.length; i++) if (bins[i] > bins[best]) best = i;
    return { hertz: best * this.context.sampleRate / this.analyser.fftSize, level: bins[best] };
  }

  /** Statistics of the peer connection of one type and kind. */
  async stats(type, kind) {
    for (const report of (await this.peer.getStats()).values()) {
      if (report.type === type && (!kind || report.kind === kind)) return JSON.parse(JSON.stringify(report));
    }
    return null;
  }

  /** Name of the codec that is decoded. */
  async codec() {
    const video = await this.stats('inbound-rtp', 'video');
    const reports = await this.peer.getStats();
    return video?.codecId ? reports.get(video.codecId).mimeType.replace('video/', '').toLowerCase() : null;
  }

  leave() { this.peer?.close(); this.socket?.close(); this.context?.close(); }
};
