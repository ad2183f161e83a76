//! `/api/platform`: stored connections and what stands behind them.

mod postgres;
