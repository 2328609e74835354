"""Encoder-decoder models: the prompt goes to an encoder, what follows it to a decoder.

A decoder that is given an encoded prompt is to the rest of the engine a network like any other,
whose texts begin with the decoder's first token instead of the prompt. Nothing is shared but equal
prompts: an encoder looks at a prompt from both ends.
"""
