"""The JSON Schema of `scanner config --schema`, read by an implementation that is not ours.

Right files pass it, and what the command refuses fails it.
"""

import json
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest

from conftest import ROOT

SCANNER = Path(os.environ.get("STOCKSCAN_SCANNER", ROOT / "target" / "debug" / "scanner")).resolve()

# As users of the program's predecessor have it.
OLD = {
    "default": {
        "consolidation_period": 5, "breakout_volume_ratio": 1.5, "resistance_break_pct": 0.5, "min_price": 50, "max_price": 2000,
        "max_results_per_day": 3, "min_volume": 10000, "min_probability_score": 10.0, "timeout": 300, "retry_attempts": 3,
        "enable_caching": True, "cache_ttl": 300,
    },
    "breakout": {"consolidation_period": 5, "breakout_volume_ratio": 1.5},
    "streaming": {
        "enabled": True, "interval_seconds": 30, "max_concurrent_scans": 3, "websocket_enabled": True, "auto_refresh_ui": True,
        "real_time_alerts": True,
    },
    "api": {"host": "localhost", "port": 8000, "timeout": 300, "max_batch_size": 10, "enable_cors": True},
    "cli": {
        "verbose_logging": False, "progress_bars": True, "color_output": True, "default_format": "table", "auto_save_results": True,
        "results_directory": "scanner_results",
    },
    "streamlit": {
        "theme": "light", "auto_refresh_interval": 30, "max_chart_points": 1000, "enable_export": True, "default_scanner": "breakout",
        "dashboard_layout": "wide",
    },
}

RIGHT = [
    {},
    OLD,
    {"$schema": "./scanner_config.schema.json", "dashboard": {"theme": "auto"}},
    {"api": {"port": 300.0}},
    {"cli": {"scanners_directory": None}},
    {"crp": {"max_volume": None, "symbols": ["A"], "cutoff_time": "9:50", "timeout": 60}},
    {"gap": {"direction": "short"}},
    {"alerts": {"r": {"scanner_type": "gap"}}},
    {"alerts": {"r": {"scanner_type": "gap", "webhook": None, "cutoff_time": None}}},
    {
        "alerts": {
            "r": {
                "enabled": False, "scanner_type": "breakout", "config": {"min_price": 100}, "cutoff_time": "09:50", "interval_seconds": 30,
                "symbols": ["A"], "webhook": {"url": "https://example.org/hook?x=1", "secret_env": "HOOK", "secret_file": None},
            }
        }
    },
]

WRONG = [
    [],
    {"api": 5},
    {"api": {"port": 0}},
    {"api": {"port": 65536}},
    {"api": {"port": "8000"}},
    {"api": {"port": 1.5}},
    {"api": {"host": " "}},
    {"api": {"prot": 1}},
    {"default": {"min_price": -1}},
    {"default": {"enable_caching": "yes"}},
    {"cli": {"default_format": "xml"}},
    {"dashboard": {}, "streamlit": {}},
    {"streamlit": {"theme": "blue"}},
    {"defaults": {"min_price": 1}},
    {"scan_crp": {"min_price": 1}},
    {"$schema": 5},
    {"crp": {"scan_date": "2025-01-15"}},
    {"crp": {"resistance_break_pct": 1}},
    {"crp": {"close_threshold_pct": 51}},
    {"crp": {"close_threshold_pct": None}},
    {"crp": {"cutoff_time": "25:00"}},
    {"crp": {"symbols": "A"}},
    {"gap": {"direction": "up"}},
    {"alerts": {"r": {}}},
    {"alerts": {"r": {"scanner_type": "scan_gap"}}},
    {"alerts": {"r": {"scanner_type": "gap", "cut_off": "09:50"}}},
    {"alerts": {"r": {"scanner_type": "gap", "cutoff_time": "late"}}},
    {"alerts": {"r": {"scanner_type": "gap", "config": {"close_threshold_pct": 1}}}},
    {"alerts": {"r": {"scanner_type": "crp", "config": {"close_threshold_pct": 51}}}},
    {"alerts": {"r": {"scanner_type": "crp", "config": {"symbols": ["A"]}}}},
    {"alerts": {"r": {"scanner_type": "gap", "webhook": {}}}},
    {"alerts": {"r": {"scanner_type": "gap", "webhook": {"url": "ftp://x"}}}},
    {"alerts": {"r": {"scanner_type": "gap", "webhook": {"url": "https://me:secret@x"}}}},
    {"alerts": {"r": {"scanner_type": "gap", "webhook": {"url": "https://x", "secret_env": "A", "secret_file": "b"}}}},
]


def scanner(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Runs the command out of reach of whoever runs the tests."""
    assert SCANNER.is_file(), f"{SCANNER} is missing; 'cargo build -p scanner' builds it, STOCKSCAN_SCANNER names another"
    variables = {name: value for name, value in os.environ.items() if not name.startswith("STOCKSCAN_")}
    variables["XDG_CONFIG_HOME"] = str(folder / "home")
    return subprocess.run([SCANNER, *arguments], cwd=folder, env=variables, capture_output=True, text=True)


@pytest.fixture(scope="module")
def validator(tmp_path_factory):
    made = scanner(tmp_path_factory.mktemp("schema"), "config", "--schema")
    assert made.returncode == 0, made.stderr
    schema = json.loads(made.stdout)
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize("content", RIGHT, ids=json.dumps)
def test_what_the_command_accepts_passes(content, validator, tmp_path):
    assert [error.message for error in validator.iter_errors(content)] == []
    (tmp_path / "scanner_config.json").write_text(json.dumps(content))
    checked = scanner(tmp_path, "config", "--validate")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("content", WRONG, ids=json.dumps)
def test_what_the_command_refuses_fails(content, validator, tmp_path):
    assert not validator.is_valid(content)
    (tmp_path / "scanner_config.json").write_text(json.dumps(content))
    checked = scanner(tmp_path, "config", "--validate")
    assert checked.returncode == 2, checked.stdout + checked.stderr
    assert checked.stderr.startswith("scanner: scanner_config.json: "), checked.stderr
