"""One file per page; Streamlit runs each as a script.

The folder is not called "pages": Streamlit would find that by itself before `app.py` has run once,
and answer an address that was pasted into a fresh server with "Page not found".
"""
