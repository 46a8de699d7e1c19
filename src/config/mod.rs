//! One table of directives.
