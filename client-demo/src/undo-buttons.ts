/** Undo and redo for those who have no keyboard; each undoes only what oneself has written. */

import type { UndoManager } from "yjs";

export function offerUndo(manager: UndoManager): void {
  const undo = document.getElementById("undo") as HTMLButtonElement;
  const redo = document.getElementById("redo") as HTMLButtonElement;
  const refresh = (): void => {
    undo.disabled = !manager.canUndo();
    redo.disabled = !manager.canRedo();
  };
  undo.addEventListener("click", () => manager.undo());
  redo.addEventListener("click", () => manager.redo());
  manager.on("stack-item-added", refresh);
  manager.on("stack-item-popped", refresh);
  manager.on("stack-cleared", refresh);
  refresh();
}
