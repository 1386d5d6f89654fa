"""Texts of a file in text that is generated: which texts a file may have, and one function for each language.

A text (a label, the name of a channel, a title) enters C, C++, JavaScript, pbtxt, Markdown or HTML only through the
function of this module for that language. A shell command and a Makefile get identifiers only. Templates are filled in
one pass, so a value that looks like a mark stays as it is.
"""

from __future__ import annotations

import html as _html
import json
import re
from collections.abc import Iterable, Mapping

from seq2onnx.errors import plain

_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # controls, ends of lines, half characters
_NAMES = re.compile("[A-Za-z0-9_]*")
_MARK = re.compile("@([A-Z_]+)@")
MOST_IN_IDENTIFIER = 60
# What C, C++ or Windows keep for themselves, the headers of C, and the files of a package.
_TAKEN = re.compile(
    "alignas|alignof|and|and_eq|asm|auto|bitand|bitor|bool|break|case|catch|char|char8_t|char16_t|char32_t|class|compl|"
    "concept|const|consteval|constexpr|constinit|const_cast|continue|co_await|co_return|co_yield|decltype|default|"
    "delete|do|double|dynamic_cast|else|enum|explicit|export|extern|false|float|for|friend|goto|if|import|inline|int|"
    "long|main|module|mutable|namespace|new|noexcept|not|not_eq|nullptr|operator|or|or_eq|private|protected|public|"
    "register|reinterpret_cast|requires|restrict|return|short|signed|sizeof|static|static_assert|static_cast|struct|"
    "switch|template|this|thread_local|throw|true|try|typedef|typeid|typename|typeof|typeof_unqual|union|unsigned|"
    "using|virtual|void|volatile|wchar_t|while|xor|xor_eq|"
    "assert|complex|ctype|errno|fenv|inttypes|iso646|limits|locale|malloc|math|memory|setjmp|signal|stdalign|stdarg|"
    "stdatomic|stdbit|stdbool|stdckdint|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|tgmath|threads|time|uchar|"
    "unistd|wchar|wctype|"
    "aux|con|nul|prn|com[0-9]|lpt[0-9]",
    re.IGNORECASE,
)


def unfit_text(texts: Iterable[object]) -> str | None:
    """Return what is wrong with the first label or name that a file may not have; None: all are right.

    Control characters would be obeyed by terminals and, as the line separators of Unicode, shift the lines of a list of
    labels. A lone surrogate cannot be written as UTF-8.
    """
    found = list(map(str, texts))
    if not _UNFIT.search("".join(found)):
        return None
    text = next(text for text in found if _UNFIT.search(text))
    if not is_unicode(text):
        return f"{text!r:.100} contains a lone surrogate, which UTF-8 cannot hold"
    return f"{text!r:.100} contains a control character"


def unfit_name(names: Iterable[str]) -> str | None:
    """Return the first name that is not one or more letters, digits and underscores of ASCII; None: all are."""
    found = list(names)
    if _NAMES.fullmatch("".join(found)) and all(found):
        return None
    return next(name for name in found if not name or not _NAMES.fullmatch(name))


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold a text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace each @MARK@ of a template by its value, in its language, in one pass: a mark in a value stays."""
    return _MARK.sub(lambda mark: values[mark[1]], template)


def identifier(text: str) -> str:
    """Return a text as an identifier of C and a file name, which no language or system keeps for itself."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII)[:MOST_IN_IDENTIFIER]
    return f"net_{name}" if not name or name[0].isdigit() or name[0] == "_" or _TAKEN.fullmatch(name) else name


def c_string(text: str) -> str:
    """Return a string literal of C, C++ and pbtxt: all but plain characters are octal numbers of UTF-8."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode("utf-8", "backslashreplace")
    )
    return f'"{escaped}"'


pbtxt_string = cpp_string = c_string
"""The literals of C++ and of protobuf's text format have the same escapes."""


def json_text(value: object) -> str:
    """Return a value as JSON, which JavaScript reads too, in ASCII and without tags of HTML."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def html(text: object) -> str:
    """Return a text for an element or an attribute of HTML."""
    return _html.escape(plain(str(text), None), quote=True)


def markdown(text: object) -> str:
    """Return a text within a line or a cell of Markdown: no markup, no HTML, no link."""
    escaped = re.sub(
        r"([\\`*{}\[\]<>#|~$!&@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=/)|(?<=www)\.)", r"\\\1", _line(text)
    )
    return escaped.replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")


def _line(text: object) -> str:
    """Return a text as one line without control characters."""
    return plain(" ".join(str(text).split()), None)
