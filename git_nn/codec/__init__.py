"""Bytes of a segment to fewer bytes and back, exactly. Specified in docs/spec-codecs.md."""
