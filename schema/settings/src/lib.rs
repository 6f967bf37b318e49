//! Configuration files, environment overrides and logging set-up of every component.
