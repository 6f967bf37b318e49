//! The top function: evidence × policies × context → appraisal.
