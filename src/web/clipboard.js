// Writes to the clipboard.

/**
 * Copies text through a text area, because browsers deny the clipboard to pages loaded over plain HTTP.
 *
 * @param {string} text @returns {Promise<boolean>} whether the text was copied
 */
export async function writeClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const focused = document.activeElement;
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
    return copied;
  }
}
