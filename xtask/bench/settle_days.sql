select private.settle_days(:people);
