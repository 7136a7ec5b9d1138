"""Read texts, images and labels from files or datasets."""
