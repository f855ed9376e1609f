CREATE TEMP MACRO version() AS 'PostgreSQL 15.0 (Stockscan)';
