"""Scorers: one file or folder each, found by itself.

``base``           what a scorer is, and the registry
``chat_messages``  finds the answer in a message that a model wrote
``sql``            queries, judged by their rows
``json``           JSON, judged by a schema and accepted values
``code``           programs, judged by running tests
"""
