"""Posts: shop news by administrators, and customers' posts.

Other packages use what is imported here, and nothing else of this one.
"""

from service.posts.schemas import Post, Status

__all__ = ("Post", "Status")
