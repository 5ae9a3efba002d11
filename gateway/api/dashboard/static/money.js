// Amounts of money as whole pico-dollars (BigInt): nothing is ever rounded on the way to a sum.

const DIGITS = 12;
const USD = 10n ** BigInt(DIGITS);

/** Whole pico-USD of an exact decimal such as "0.0000925"; null stays null. */
export function pico(text) {
  if (text === null || text === undefined) return null;
  const [, sign, whole, part = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  const size = BigInt(whole) * USD + BigInt(part.slice(0, DIGITS).padEnd(DIGITS, "0"));
  return sign ? -size : size;
}

/** The amount with all its digits. */
export function exact(amount) {
  if (amount === null) return "unknown";
  const size = amount < 0n ? -amount : amount;
  const part = String(size % USD).padStart(DIGITS, "0").replace(/0+$/, "");
  return `${amount < 0n ? "−" : ""}$${grouped(size / USD)}${part ? `.${part}` : ""}`;
}

/** The amount rounded for reading: cents from a dollar on, below that three digits that matter. */
export function usd(amount) {
  if (amount === null) return "unknown";
  const size = amount < 0n ? -amount : amount;
  if (size === 0n) return "$0";
  const kept = size >= USD ? DIGITS - 2 : Math.max(0, String(size).length - 3);
  const unit = 10n ** BigInt(kept);
  const rounded = ((size + unit / 2n) / unit) * unit;
  const text = exact(amount < 0n ? -rounded : rounded);
  return size < USD ? text : text.replace(/^([^.]*)(?:\.(\d*))?$/, (_, whole, part = "") => `${whole}.${part.padEnd(2, "0")}`);
}

/** Only to draw with: a float of dollars. */
export function drawn(amount) {
  return Number(amount ?? 0n) / Number(USD);
}

function grouped(whole) {
  return String(whole).replace(/\B(?=(\d{3})+$)/g, ",");
}
