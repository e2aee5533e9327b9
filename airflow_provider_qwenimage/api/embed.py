"""Writes who made an image from what into the image itself, as XMP: what picture tools and archives read.

The pixels stay as they are, byte for byte. JPEG and PNG only; other kinds are left alone.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO
from xml.sax.saxutils import escape

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\x00"
_XMP_IN_PNG = b"XML:com.adobe.xmp\x00\x00\x00\x00\x00"  # keyword, not compressed, no language, no translation
_LONGEST_IN_JPEG = 65_533 - len(_XMP_IN_JPEG)
_PNG_HEADER = 8 + 25  # signature and IHDR chunk
# The IPTC's term for what a trained model has drawn: it marks a picture as generated.
_GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def embed(source: BinaryIO, target: BinaryIO, facts: Mapping[str, Any]) -> bool:
    """Copy an image with the facts added; in constant memory.

    :param source: a whole image, open for reading in binary, seekable.
    :param target: open for writing in binary.
    :param facts: ``prompt``, ``model_id``, ``generation_id`` and ``created`` (ISO 8601) are used. A JPEG has room for
        64 KB: of a prompt that is longer the start is kept.
    :return: whether they were added; False, with nothing written, for kinds of image that are left alone.
    """
    source.seek(0)
    start = source.read(24)
    if start.startswith(_PNG):
        where, extra = _PNG_HEADER, _png_chunk(b"iTXt", _XMP_IN_PNG + _xmp(facts))
    elif start.startswith(_JPEG) and len(packet := _xmp(_shortened(facts))) <= _LONGEST_IN_JPEG:
        where, extra = _after_jfif(start), _jpeg_segment(_XMP_IN_JPEG + packet)
    else:
        return False
    source.seek(0)
    target.write(source.read(where))
    target.write(extra)
    shutil.copyfileobj(source, target)
    return True


def _after_jfif(start: bytes) -> int:
    """Return where an APP1 segment may stand: a JFIF header must stay the first one."""
    return 4 + int.from_bytes(start[4:6], "big") if start[2:4] == b"\xff\xe0" else 2


def _jpeg_segment(data: bytes) -> bytes:
    return b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _shortened(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the facts with a prompt that fits into a JPEG beside the others."""
    prompt = str(facts.get("prompt", ""))
    room = _LONGEST_IN_JPEG - len(_xmp({**facts, "prompt": "…"}))
    for index, char in enumerate(prompt):
        room -= len(_as_xml(char).encode())
        if room < 0:
            return {**facts, "prompt": f"{prompt[:index]}…"}
    return facts


def _as_xml(text: str) -> str:
    """Return a text as the content of an XML element, without the characters that XML does not know."""
    return escape("".join(filter(_is_xml, text)), {"\r": "&#13;"})


def _is_xml(char: str) -> bool:
    return char in "\t\n\r" or " " <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char >= "\U00010000"


def _xmp(facts: Mapping[str, Any]) -> bytes:
    def text(name: str) -> str:
        return _as_xml(str(facts.get(name, "")))

    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{text("prompt")}</rdf:li></rdf:Alt></dc:description>
<dc:identifier>{text("generation_id")}</dc:identifier>
<xmp:CreatorTool>Qwen Image {text("model_id")} (Pixwith)</xmp:CreatorTool>
<xmp:CreateDate>{text("created")}</xmp:CreateDate>
<Iptc4xmpExt:DigitalSourceType>{_GENERATED}</Iptc4xmpExt:DigitalSourceType>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()
