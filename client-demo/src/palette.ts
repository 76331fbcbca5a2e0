/** The colours people may have. Each carries white text (4.5:1) and shows on both schemes (3:1). */

export interface Colour {
  readonly name: string;
  readonly value: string;
}

export const PALETTE: readonly Colour[] = [
  { name: "Pine", value: "#23795a" },
  { name: "Blue", value: "#2f6fc4" },
  { name: "Violet", value: "#8353c0" },
  { name: "Raspberry", value: "#bd3d73" },
  { name: "Brick", value: "#b8492d" },
  { name: "Ochre", value: "#8c6a13" },
  { name: "Lagoon", value: "#0e7886" },
  { name: "Moss", value: "#557a1c" },
];

const UNKNOWN = "#5d6d78";

/** Colours come from strangers and end in style attributes: nothing but `#rrggbb` passes. */
export function safeColour(colour: unknown): string {
  return typeof colour === "string" && /^#[0-9a-f]{6}$/i.test(colour) ? colour : UNKNOWN;
}
