//! memcached's own tests, from Debian's source package, pass through Weir as they do directly.
