"""Every reason for which a record may leave the chain, as one closed set."""

from enum import StrEnum


class Rejection(StrEnum):
    """A reason code; the string is what stands in the `reason` column, `meaning` is one line for people."""

    meaning: str

    def __new__(cls, code: str, meaning: str = "") -> "Rejection":
        """Make a member whose value is the code."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    # the list
    MALFORMED_ROW = "malformed_row", "the row of the list could not be read"
    INVALID_URL = "invalid_url", "the URL is empty, not http or https, or has a form that is never fetched"
    INVALID_SHA256 = "invalid_sha256", "the expected hash is not 64 hexadecimal digits"
    DUPLICATE_URL = "duplicate_url", "another row of the list has the same URL"
    # the download
    BLOCKED_ADDRESS = "blocked_address", "the host is, or resolves to, an address that is not public"
    UNRESOLVED_HOST = "unresolved_host", "the host name has no address"
    CONNECTION_FAILED = "connection_failed", "the connection was refused, reset or spoke no valid HTTP"
    TIMED_OUT = "timed_out", "the answer was not complete within the time limit"
    HTTP_ERROR = "http_error", "the server answered with a status other than 200"
    TOO_MANY_REDIRECTS = "too_many_redirects", "more redirects than the limit"
    BODY_TOO_LARGE = "body_too_large", "more bytes than the limit"
    BODY_INCOMPLETE = "body_incomplete", "the body is empty or shorter than announced"
    WRONG_CONTENT_TYPE = "wrong_content_type", "the answer is of a type or encoding that is no picture"
    OPTED_OUT = "opted_out", "the owner's headers reserve the picture"
    HASH_MISMATCH = "hash_mismatch", "the bytes are not those that the list expects"
    HASH_LISTED = "hash_listed", "the hash stands on a list of pictures that are never stored"
    # the picture
    UNKNOWN_FORMAT = "unknown_format", "the bytes are of no allowed picture format"
    TOO_MANY_PIXELS = "too_many_pixels", "the picture announces more pixels than the limit"
    TRUNCATED = "truncated", "the picture ends before its last row"
    UNDECODABLE = "undecodable", "the picture is damaged"
    # labelled pictures
    UNREADABLE_FILE = "unreadable_file", "the picture's file is missing or may not be read"
    LABELS_DISAGREE = "labels_disagree", "the same bytes stand there under two labels"
    # the training set
    NOT_SCORED = "not_scored", "no scores exist for the picture"
    DUPLICATE_EXACT = "duplicate_exact", "a kept picture has the same bytes"
    DUPLICATE_PERCEPTUAL = "duplicate_perceptual", "a kept picture looks the same"
    SIDE_TOO_SHORT = "side_too_short", "the shorter side is below the limit"
    ASPECT_TOO_EXTREME = "aspect_too_extreme", "the longer side over the shorter is above the limit"
    NO_CAPTION = "no_caption", "no caption in a language that is used"
    LOW_SIMILARITY = "low_similarity", "no caption is similar enough to the picture"
    LOW_AESTHETIC = "low_aesthetic", "the aesthetic score is below the limit"
    UNSAFE = "unsafe", "the safety score is above the limit"
