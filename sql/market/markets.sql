-- One stock exchange: its time zone and the regular hours of its continuous trading.
--
-- Presets for `session_start`, `session_end` and time-zone conversion, as they stood in 2025. Lunch breaks are part of the session; special
-- and shortened sessions are not listed, since sessions come from the data.
--
-- @column market code to name the exchange by.
-- @column name the exchange's name.
-- @column time_zone IANA name of its time zone.
-- @column session_start exchange time, start of regular hours.
-- @column session_end exchange time, end of regular hours.
-- @source The exchanges' published trading hours, 2025.
-- @example FROM markets() WHERE market = 'NSE'
CREATE MACRO markets() AS TABLE
SELECT
    preset.market,
    preset.name,
    preset.time_zone,
    CAST(preset.session_start AS TIME) AS session_start,
    CAST(preset.session_end AS TIME) AS session_end
FROM (
    VALUES
    ('ASX', 'Australian Securities Exchange', 'Australia/Sydney', '10:00', '16:00'),
    ('B3', 'B3, São Paulo', 'America/Sao_Paulo', '10:00', '17:00'),
    ('BSE', 'BSE, Mumbai', 'Asia/Kolkata', '09:15', '15:30'),
    ('EURONEXT', 'Euronext Paris', 'Europe/Paris', '09:00', '17:30'),
    ('HKEX', 'Hong Kong Stock Exchange', 'Asia/Hong_Kong', '09:30', '16:00'),
    ('JPX', 'Tokyo Stock Exchange', 'Asia/Tokyo', '09:00', '15:30'),
    ('KRX', 'Korea Exchange', 'Asia/Seoul', '09:00', '15:30'),
    ('LSE', 'London Stock Exchange', 'Europe/London', '08:00', '16:30'),
    ('NASDAQ', 'Nasdaq', 'America/New_York', '09:30', '16:00'),
    ('NSE', 'National Stock Exchange of India', 'Asia/Kolkata', '09:15', '15:30'),
    ('NYSE', 'New York Stock Exchange', 'America/New_York', '09:30', '16:00'),
    ('SGX', 'Singapore Exchange', 'Asia/Singapore', '09:00', '17:00'),
    ('SIX', 'SIX Swiss Exchange', 'Europe/Zurich', '09:00', '17:20'),
    ('SSE', 'Shanghai Stock Exchange', 'Asia/Shanghai', '09:30', '15:00'),
    ('SZSE', 'Shenzhen Stock Exchange', 'Asia/Shanghai', '09:30', '15:00'),
    ('TSX', 'Toronto Stock Exchange', 'America/Toronto', '09:30', '16:00'),
    ('TWSE', 'Taiwan Stock Exchange', 'Asia/Taipei', '09:00', '13:30'),
    ('XETRA', 'Xetra, Frankfurt', 'Europe/Berlin', '09:00', '17:30')
) AS preset (market, name, time_zone, session_start, session_end)
ORDER BY preset.market
