// How numbers and instants are written for people.
export function formatPower(watts) {
  if (watts === null || watts === undefined) return "–";
  if (Math.abs(watts) >= 10000) return `${(watts / 1000).toFixed(1)} kW`;
  if (Math.abs(watts) >= 1000) return `${(watts / 1000).toFixed(2)} kW`;
  return `${watts.toFixed(Math.abs(watts) < 100 ? 1 : 0)} W`;
}

export function formatEnergy(wattHours) {
  if (wattHours === null || wattHours === undefined) return "–";
  if (wattHours >= 1000) return `${(wattHours / 1000).toFixed(2)} kWh`;
  return `${wattHours.toFixed(wattHours < 100 ? 1 : 0)} Wh`;
}

export function formatCount(number) {
  return number === null || number === undefined ? "–" : Math.round(number).toLocaleString();
}

export function formatAge(instant) {
  if (!instant) return "never heard";
  const seconds = Math.max(0, (Date.now() - Date.parse(instant)) / 1000);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

export function formatMoment(at, spanMs) {
  const options = spanMs > 2 * 86400000 ? { day: "2-digit", month: "short" } : { hour: "2-digit", minute: "2-digit", hour12: false };
  return new Date(at).toLocaleString([], options);
}

export function formatInstant(instant) {
  if (!instant) return "–";
  const at = new Date(instant);
  const year = at.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  return at.toLocaleString([], { day: "numeric", month: "short", ...year, hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

export function formatLatency(ms) {
  if (ms === null || ms === undefined) return "";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
