"""Read a run folder and show it: tables, figures, page and model cards. All can be rebuilt from the store.

In reading order:

- ``run_folder``: small files of a run folder.
- ``run_data``: a run as Python values.
- ``run_frames``: trials and items as tables.
- ``bootstrap``: intervals by resampling items.
- ``paired``: models against a reference, item by item.
- ``results``: the table on the test items.
- ``verdict``: the result in words.
- ``tables``: the table as Markdown and on the terminal; files of the front.
- ``shown_data``: data behind figures and page.
- ``importance``: which settings matter.
- ``commands``: commands to copy.
- ``style``: colours.
- ``figures``: figures.
- ``page_json``: data of the page.
- ``html``: the page.
- ``write``: all files of a run.
- ``compare``: several runs side by side.
- ``model_card``: a model card.
- ``delivery``: cards of the winner.
- ``extraction``: an extraction on the terminal.
- ``rank_curve``: scores against an adapter's rank.
"""
