/** Calls for attention: a sound, and notifications of the browser. Each is a switch of this browser. */

import { notify } from "./notices.svelte";

const [SOUND, NOTIFICATIONS] = ["stockscan.sound", "stockscan.notifications"];
const isThere = "Notification" in globalThis;

export const attention = $state({
  sound: localStorage.getItem(SOUND) === "on",
  /** A page may sound only after one has done something on it. */
  isMuted: false,
  notifications: isThere && localStorage.getItem(NOTIFICATIONS) === "on" && Notification.permission === "granted",
});

let context: AudioContext | null = null;

async function sounding(): Promise<AudioContext> {
  context ??= new AudioContext();
  if (context.state === "suspended") await Promise.race([context.resume(), new Promise((done) => setTimeout(done, 200))]);
  attention.isMuted = context.state === "suspended";
  return context;
}

async function beep(): Promise<void> {
  const audio = await sounding();
  if (attention.isMuted) return;
  [880, 1320].forEach((frequency, index) => {
    const [tone, gain, from] = [audio.createOscillator(), audio.createGain(), audio.currentTime + index * 0.13];
    tone.frequency.value = frequency;
    gain.gain.setValueAtTime(0.0001, from);
    gain.gain.exponentialRampToValueAtTime(0.16, from + 0.015);
    gain.gain.exponentialRampToValueAtTime(0.0001, from + 0.12);
    tone.connect(gain).connect(audio.destination);
    tone.start(from);
    tone.stop(from + 0.13);
  });
}

export function setSound(isOn: boolean): void {
  attention.sound = isOn;
  localStorage.setItem(SOUND, isOn ? "on" : "off");
  if (isOn) void beep();
}

/** Asks for the browser's permission when it is switched on, and not before. */
export async function setNotifications(isOn: boolean): Promise<void> {
  if (isOn && !isThere) notify("This browser has no notifications, or not for pages without TLS.", "bad");
  const isAllowed = isOn && isThere && (await Notification.requestPermission()) === "granted";
  if (isOn && isThere && !isAllowed) notify("The browser does not allow this page notifications; its settings of the page can change that.", "bad");
  attention.notifications = isAllowed;
  localStorage.setItem(NOTIFICATIONS, isAllowed ? "on" : "off");
}

export function call(title: string, text: string): void {
  if (attention.sound) void beep();
  if (!attention.notifications) return;
  try {
    const note = new Notification(title, { body: text, icon: "/favicon.svg", tag: "stockscan" });
    note.onclick = () => {
      focus();
      note.close();
    };
  } catch {
    // Some phones have notifications of service workers only.
    void setNotifications(false);
  }
}

// The first thing that is done on a page that was opened with the sound on lets it sound.
addEventListener("pointerdown", () => attention.sound && void sounding(), { once: true });
