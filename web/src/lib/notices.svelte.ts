/** Short words on what just happened. They go by themselves; what is bad stays longer. */

export interface Notice {
  id: number;
  text: string;
  kind: "good" | "bad";
}

export const notices: Notice[] = $state([]);
let last = 0;

export function notify(text: string, kind: Notice["kind"] = "good"): void {
  last += 1;
  const id = last;
  notices.push({ id, text, kind });
  setTimeout(() => dismiss(id), kind === "bad" ? 12_000 : 3_000);
}

export function dismiss(id: number): void {
  const at = notices.findIndex((notice) => notice.id === id);
  if (at >= 0) notices.splice(at, 1);
}
