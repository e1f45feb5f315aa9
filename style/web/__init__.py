"""A page to paint on: photograph and paintings in, a picture that is watched while it grows, steered and kept.

`python -m style.web` serves it to a browser on this machine (extra `web`: Starlette and uvicorn). Three kinds of
process work together, and whatever one of them knows lies in a folder, so that each may be killed at any moment:

    __main__, app      the web process: answers, and computes nothing
    runner             works off the queue (jobqueue.py), kept alive by supervisor.py
    child              decodes one upload or plans one job, within limits, and ends; asked by children.py

    desk       the folder: what was asked for, where each run stands, what came of it
    asked      what a page may ask for, checked
    uploads    pictures that came in
    feed       what pages are told of
    exchange  what comes in and goes out, bounded
    security   who may ask at all
"""
