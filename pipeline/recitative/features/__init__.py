"""Fbank, MFCC, CMVN, augmentation, archives."""
