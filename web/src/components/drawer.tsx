import { type ReactNode, useEffect, useLayoutEffect, useRef } from "react";

/** From this width on the page stays usable beside an open drawer. */
const BESIDE = "(min-width: 1024px)";

interface DrawerProps {
  labelledBy: string;
  onClose: () => void;
  children: ReactNode;
}

/**
 * A sheet at the right edge: beside the page on wide screens, over all of it on narrow ones.
 * The native dialog moves the focus in, keeps it there while modal, and gives it back.
 */
export function Drawer({ labelledBy, onClose, children }: DrawerProps) {
  const ref = useRef<HTMLDialogElement>(null);

  // A layout effect, because closing must happen while the dialog is still in the document:
  // only then does the browser return the focus to where it was.
  useLayoutEffect(() => {
    const dialog = ref.current;
    if (!dialog) return;
    if (matchMedia(BESIDE).matches) dialog.show();
    else dialog.showModal();
    return () => dialog.close();
  }, []);

  useEffect(() => {
    const closeOnEscape = (event: KeyboardEvent) => {
      if (event.key === "Escape") onClose();
    };
    addEventListener("keydown", closeOnEscape);
    return () => removeEventListener("keydown", closeOnEscape);
  }, [onClose]);

  return (
    <dialog
      ref={ref}
      aria-labelledby={labelledBy}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      className="fixed inset-y-0 right-0 left-auto z-30 m-0 h-dvh max-h-none w-full max-w-none overflow-y-auto overscroll-contain border-l border-line bg-surface text-ink shadow-drawer outline-none backdrop:bg-black/40 sm:w-[34rem] xl:w-[38rem]"
    >
      {children}
    </dialog>
  );
}
