"""How numbers, sizes and durations read on the site."""

import math

_ACRONYMS = {"url": "URL", "clip": "CLIP", "http": "HTTP", "exif": "EXIF"}


def show_count(value: int) -> str:
    """Return 12,345."""
    return f"{value:,}"


def show_number(value: float | None) -> str:
    """Return a number with about four digits that matter, and a dash for none."""
    if value is None or math.isnan(value):
        return "–"
    if value < 0:
        return f"−{show_number(-value)}"
    size = value
    if size >= 1000:
        return f"{value:,.0f}"
    for limit, digits in ((100, 1), (10, 2), (0.1, 3)):
        if size >= limit:
            return f"{value:.{digits}f}"
    return "0" if value == 0 else f"{value:.4f}" if size >= 0.001 else f"{value:.1e}"


def show_share(part: float, whole: float) -> str:
    """Return part of whole in per cent, and a dash of nothing."""
    return "–" if whole == 0 else f"{100 * part / whole:.0f} %" if part == whole else f"{100 * part / whole:.1f} %"


def show_bytes(value: int) -> str:
    """Return a size in binary units."""
    size = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def show_seconds(value: float) -> str:
    """Return a duration: 0.4 s, 42 s, 3 min 20 s, 2 h 5 min."""
    if value < 10:
        return f"{value:.1f} s"
    seconds = round(value)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def show_short(identifier: str) -> str:
    """Return the first twelve characters of a version or digest."""
    return identifier if len(identifier) <= 13 else f"{identifier[:12]}…"


def show_words(code: str) -> str:
    """Return a code such as a reason, a job or an artifact as words."""
    return " ".join(_ACRONYMS.get(word, word) for word in code.split("_"))


def show_heading(code: str) -> str:
    """Return a code as words with a capital letter first."""
    words = show_words(code)
    return words[:1].upper() + words[1:]
