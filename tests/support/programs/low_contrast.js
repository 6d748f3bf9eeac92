// Returns the texts whose contrast with their background is below 4.5 (WCAG 2.2, 1.4.3). The cells of
// the map are not among them: their letters stand on no colour.
() => {
    const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
    const luminance = (rgb) => {
        const [r, g, b] = rgb.map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const background = (e) => {
        for (; e; e = e.parentElement) {
            const c = numbers(getComputedStyle(e).backgroundColor);
            if (c.length === 3 || c[3] > 0.9) return c.slice(0, 3);
        }
        return [255, 255, 255];
    };
    const texts = [];
    for (const e of document.querySelectorAll("body *")) {
        const hasText = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!hasText || !e.checkVisibility() || e.disabled) continue;
        const [a, b] = [luminance(numbers(getComputedStyle(e).color).slice(0, 3)), luminance(background(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) texts.push(`${e.tagName} ${e.id} ${e.textContent.slice(0, 30)} ${ratio}`);
    }
    return texts;
}
