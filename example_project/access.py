"""Who may run code here: this machine only, unless STRATAKV_DEMO_ALLOW_REMOTE=1 says otherwise."""

import ipaddress
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP")


def require_local(request: HttpRequest) -> None:
    """Raise PermissionDenied for a request from elsewhere, or from another site's page in a local browser."""
    if not settings.COMPILE_ALLOW_REMOTE and not _is_local(request):
        raise PermissionDenied(
            "This site runs programs for its own machine only, and for no proxy"
            " (unless it is started with STRATAKV_DEMO_ALLOW_REMOTE=1)."
        )
    if not _is_same_origin(request):
        raise PermissionDenied("This site runs no programs for pages of other sites.")


def _is_local(request: HttpRequest) -> bool:
    # Behind a proxy on this machine every address is a loopback address; a proxy says for whom it asks.
    if any(header in request.META for header in FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_same_origin(request: HttpRequest) -> bool:
    origin = request.headers.get("Origin")
    try:
        return origin is None or urlsplit(origin).netloc == request.get_host()
    except ValueError:  # not a URL, "http://[" for one
        return False
