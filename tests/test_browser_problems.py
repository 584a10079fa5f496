"""As test_browser.py, the pages of three problems in a process of their own."""

from __future__ import annotations

from tests.page_faults import PROBLEMS, faults_of


def test_every_page_of_these_problems_is_sound_on_every_screen_and_on_paper(browser, address, names):
    chosen = [name for name in names if name.startswith(PROBLEMS)]
    assert len(chosen) > 20
    assert faults_of(browser, address, chosen) == {}
