"""The dashboard's frame: its pages and its look. Started by `launch`; Streamlit reruns it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from reports.dashboard import failure

_HERE = Path(__file__).parent

st.set_page_config(page_title="evalkit", page_icon=_HERE / "icon.svg", layout="wide")
st.html(_HERE / "style.css")
page = st.navigation(
    [
        st.Page("views/verdict.py", title="Verdict", icon=":material/gavel:", default=True),
        st.Page(
            "views/side_by_side.py",
            title="Side by side",
            icon=":material/compare:",
            url_path="side-by-side",
        ),
        st.Page("views/judge.py", title="Judge", icon=":material/balance:"),
        st.Page("views/vote.py", title="Vote", icon=":material/how_to_vote:"),
        st.Page("views/training.py", title="Training", icon=":material/show_chart:"),
        st.Page("views/runs.py", title="Runs", icon=":material/history:"),
    ],
    position="top",
)
with failure.told(f"The page “{page.title}”"):
    page.run()
